"""What is shipped for deployment, under test."""
