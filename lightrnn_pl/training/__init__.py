"""Training: a thin LightningModule, its callbacks, and the experiment that runs them."""
