"""What an organism remembers of a conversation."""
