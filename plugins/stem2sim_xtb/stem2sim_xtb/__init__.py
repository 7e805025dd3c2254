"""GFN-xTB tight binding through tblite: the embedded engine of stem2sim."""
