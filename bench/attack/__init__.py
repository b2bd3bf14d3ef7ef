"""What an adversarial attack costs."""
