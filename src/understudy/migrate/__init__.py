"""From another product's configuration to a file of ours, with a word about every line."""
