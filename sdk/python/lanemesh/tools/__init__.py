"""Tools made of Python functions: `@tool`, their schemas, their calls and their results.

`mark` has the decorator, `schema` the description of a function for models, `parsing` the arguments of a call, `running` its
execution, `results` what it returned, `function` all of these together, and `tool_node` the base class of nodes whose methods are
tools.
"""
