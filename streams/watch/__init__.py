"""What people and machines watch: metrics, health, and the small server that shows them."""
