"""What `make run` and the tests start on this machine. Nothing in `app/` imports it."""
