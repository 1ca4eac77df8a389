"""What the parts of the method are worth: one thing is varied at a time, all else stays (the paper's 4.3)."""
