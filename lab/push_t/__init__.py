"""Push-T in miniature: are edited pictures better to learn from? (the method's earlier version, section 4.3)"""
