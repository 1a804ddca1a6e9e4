"""What the user service keeps its accounts in."""
