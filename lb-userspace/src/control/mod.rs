//! Desired state, and the plan that leads there: pure.
