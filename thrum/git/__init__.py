"""The user's repositories. Here alone git is run outside of a sandbox, and never on a tree that an agent wrote.

`program` is the one door to git, `objects` does what needs nothing but objects, `repository` holds refs and landing,
`bundles` what comes from agents, `checkouts` the user's own work trees.
"""
