"""The network: embeddings, recurrent cores, outputs, losses, and the language model that combines them."""
