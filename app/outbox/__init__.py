"""What was committed and is still to be told. Written in the block, read by whoever tells it."""
