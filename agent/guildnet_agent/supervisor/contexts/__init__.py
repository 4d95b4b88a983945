"""The task's contexts, fetched into the exchange: git, text, url and configMap."""
