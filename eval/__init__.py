"""What is measured: trials, rollouts, their store, correlation with reality, the report."""
