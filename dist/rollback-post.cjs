require('./index.cjs').runPost('rollback');
