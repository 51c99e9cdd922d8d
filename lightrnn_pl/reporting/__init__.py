"""What runs have come to, beside the papers: tables, pictures, a page.  Reads run folders; knows no network."""
