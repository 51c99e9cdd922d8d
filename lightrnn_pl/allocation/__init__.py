"""Word tables: where the words sit, what each place would cost them, and who moves them."""
