require('./index.cjs').run('prepare');
