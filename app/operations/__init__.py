"""What operators and programs look up: health, readiness, the API's description, pages on problems."""
