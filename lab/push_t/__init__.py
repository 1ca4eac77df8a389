"""Push-T in miniature: are edited pictures better to learn from? (the paper's earlier version, 4.3)"""
