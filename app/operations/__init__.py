"""Pages for operators and programs: health, readiness, measures, the API's description, explanations of problems."""
