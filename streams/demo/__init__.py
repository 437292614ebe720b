"""`evenstream demo`: the main job, live, on one machine, ending with a result that a person can judge."""
