"""Questions to this machine's kernel, asked where nothing can break: in scratch namespaces."""
