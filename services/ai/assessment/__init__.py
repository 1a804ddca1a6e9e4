"""What is found in a learner's words after the turn: corrections."""
