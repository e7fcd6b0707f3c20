"""From weights and a case's prompts to a plan: profiles, batches, spacing, the reasons for each."""
