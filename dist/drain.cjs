require('./index.cjs').run('drain');
