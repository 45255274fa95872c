"""What runs leave behind, and what is read from it."""
