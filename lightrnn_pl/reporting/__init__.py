"""Reports on runs, compared with the papers: tables, figures, and a web page.  Reads run folders; loads no model."""
