"""The local web page of ``lightrnn-serve`` and its JSON API."""
