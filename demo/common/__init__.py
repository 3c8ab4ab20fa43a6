"""What the tabs share: look, components, messages, checks of input, embedded models, the store of results."""
