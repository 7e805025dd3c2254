"""What a run leaves for others: RO-Crate, database, archive, citations, methods, differences, exports."""
