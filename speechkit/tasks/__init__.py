"""One task per training method: builds model, data and loss from its configuration."""
