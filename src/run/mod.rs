//! One job from start to end: budgets, resume, cleaning up.
