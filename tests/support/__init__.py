"""What several test files share: payloads, handlers, organisms under audit. No tests, and no state."""
