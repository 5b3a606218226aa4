"""What methods share: unrolled training, gradient distance, discrepancies, experts, feature spaces."""
