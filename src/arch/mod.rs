//! Model families: tensor names, hyper-parameters, transforms. Data and small functions; no I/O.
