"""From a command line to checked configs, without importing torch."""
