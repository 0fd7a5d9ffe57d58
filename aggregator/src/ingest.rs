//! `POST /api/v1/observations`.
