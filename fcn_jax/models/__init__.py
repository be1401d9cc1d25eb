"""Networks: backbones that return named features, and heads that turn these into logits."""
