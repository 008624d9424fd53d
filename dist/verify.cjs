require('./index.cjs').run('verify');
