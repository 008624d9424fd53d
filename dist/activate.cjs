require('./index.cjs').run('activate');
