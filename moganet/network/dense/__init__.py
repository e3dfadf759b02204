"""What stands on a network's four maps: a neck, and heads that answer for each pixel."""
