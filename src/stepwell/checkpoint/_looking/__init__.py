"""What a saver tells of what it keeps: threads, runs, checkpoints, differences."""
