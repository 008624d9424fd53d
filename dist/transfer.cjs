require('./index.cjs').run('transfer');
