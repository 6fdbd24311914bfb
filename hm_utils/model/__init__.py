"""The two towers, their losses, and how vectors become scores."""
