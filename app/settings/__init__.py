"""What makes a setting fit to start with: rules for single values, and how strong a secret must be."""
