"""Run folders and data folders, made into tables, figures and pages."""
