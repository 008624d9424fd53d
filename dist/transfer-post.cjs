require('./index.cjs').runPost('transfer');
