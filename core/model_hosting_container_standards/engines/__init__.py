"""What an inference engine is, and how installed ones are found."""
