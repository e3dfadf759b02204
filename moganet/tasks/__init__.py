"""Networks with loss and metrics, as LightningModules."""
